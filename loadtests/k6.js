// Plain chat requests with thresholds, for those who have k6 in their pipelines.
//
//   k6 run loadtests/k6.js -e BASE=http://127.0.0.1:8080/v1 -e DURATION=30s -e VUS=16
//
// Plain only: k6 buffers a body until it is whole, so that its `waiting` is the time to the head of a response, and a
// stream's first token cannot be timed. Use drive.py or locustfile.py for that.
//
// Thresholds are meant to be changed: -e HIT_P95_MS=20 -e MISS_P95_MS=2000 -e HIT_RATIO=0.3. k6 exits with 99 when one
// is crossed. Set -e KEY=... where the upstream wants a credential, -e MODEL=... for another model.

import http from "k6/http";
import { check } from "k6";
import exec from "k6/execution";
import { Rate, Trend } from "k6/metrics";

const BASE = __ENV.BASE || "http://127.0.0.1:8080/v1";
const MODEL = __ENV.MODEL || "gpt-4o-mini";
const CATALOGUE = Number(__ENV.CATALOGUE || 200);
const EXPONENT = Number(__ENV.EXPONENT || 1);
const UNIQUE = Number(__ENV.UNIQUE || 0.15);
const SAVED = ["hit", "semantic", "stale", "collapsed"];

const hits = new Rate("cache_hits");
const hitMs = new Trend("hit_duration", true);
const missMs = new Trend("miss_duration", true);

export const options = {
  scenarios: {
    chat: { executor: "constant-vus", vus: Number(__ENV.VUS || 16), duration: __ENV.DURATION || "30s" },
  },
  thresholds: {
    checks: ["rate>0.99"],
    http_req_failed: ["rate<0.01"],
    cache_hits: [`rate>${__ENV.HIT_RATIO || 0.3}`],
    hit_duration: [`p(95)<${__ENV.HIT_P95_MS || 50}`],
    miss_duration: [`p(95)<${__ENV.MISS_P95_MS || 5000}`],
  },
  summaryTrendStats: ["count", "min", "med", "avg", "p(90)", "p(95)", "p(99)", "max"],
};

// Zipf's law over the catalogue, as in traffic.py.
const cumulative = [];
for (let rank = 1, sum = 0; rank <= CATALOGUE; rank++) {
  sum += Math.pow(rank, -EXPONENT);
  cumulative.push(sum);
}

function rank() {
  const at = Math.random() * cumulative[CATALOGUE - 1];
  let low = 0;
  let high = CATALOGUE - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (cumulative[middle] < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

function question() {
  if (Math.random() < UNIQUE) {
    return `Summarise note k${exec.scenario.iterationInTest}.${Date.now()}`;
  }
  return `What is there to say about the number ${rank()}?`;
}

export default function () {
  const body = JSON.stringify({
    model: MODEL,
    messages: [
      { role: "system", content: "Answer in one paragraph." },
      { role: "user", content: question() },
    ],
    temperature: 0,
  });
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${__ENV.KEY || "sk-k6"}` };
  const response = http.post(`${BASE}/chat/completions`, body, { headers });
  check(response, {
    "status is 200": (r) => r.status === 200,
    "there is an answer": (r) => r.status === 200 && r.json("choices.0.message.content") !== "",
  });
  if (response.status !== 200) return;
  const saved = SAVED.includes(response.headers["X-Cache"]);
  hits.add(saved);
  (saved ? hitMs : missMs).add(response.timings.duration);
}
