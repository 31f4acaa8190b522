-- The hit path of a running proxy: questions drawn by Zipf's law from a few that it is asked first, so that all that is
-- timed are hits. At its end it says how answers were labelled (X-Cache) in the sample that it looked at.
--
--   wrk -t1 -c16 -d10s --latency -s loadtests/wrk/hits.lua http://127.0.0.1:8080 -- [questions, 100] [exponent, 1] [model]
--
-- Its first requests, one of each question for each connection that gets that far, may be misses. Run it twice, and take
-- the second. wrk does not read streams: use drive.py for those.
local bodies, cumulative, requests, asked = {}, {}, {}, 0
local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(args)
  local count = tonumber(args[1] or 100)
  local exponent = tonumber(args[2] or 1)
  local model = args[3] or "gpt-4o-mini"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. (os.getenv("KEY") or "sk-wrk")
  local sum = 0
  for rank = 1, count do
    sum = sum + rank ^ -exponent
    cumulative[rank] = sum
    local body = '{"model":"' .. model .. '","messages":[{"role":"user","content":"What is there to say about the number '
      .. rank .. '?"}],"temperature":0}'
    requests[rank] = wrk.format("POST", "/v1/chat/completions", nil, body)
  end
  math.randomseed(os.time())
  outcomes = ""
  seen = 0
  tally = {}
end

local function rank()
  local at = math.random() * cumulative[#cumulative]
  local low, high = 1, #cumulative
  while low < high do
    local middle = math.floor((low + high) / 2)
    if cumulative[middle] < at then low = middle + 1 else high = middle end
  end
  return low
end

function request()
  asked = asked + 1
  if asked <= #requests then
    return requests[asked]
  end
  return requests[rank()]
end

-- Looking at every answer would cost more than some of what is measured: the first 1,000 and then one in a hundred.
function response(status, headers, body)
  seen = seen + 1
  if seen > 1000 and seen % 100 ~= 0 then
    return
  end
  local outcome = headers["x-cache"] or headers["X-Cache"] or "none"
  tally[outcome] = (tally[outcome] or 0) + 1
  local parts = {}
  for name, count in pairs(tally) do
    parts[#parts + 1] = name .. "=" .. count
  end
  outcomes = table.concat(parts, " ")
end

function done(summary, latency, requests)
  for _, thread in ipairs(threads) do
    io.write("x-cache in the sample: " .. thread:get("outcomes") .. "\n")
  end
end
