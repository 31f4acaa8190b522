"""`helm test`: the proxy is up, says that it is ready, and can be scraped. No model is asked anything.

Arguments: its address, and how many seconds it may take to answer. Standard library only.
"""

# ruff: noqa: S310 - run by itself in a pod, on addresses the chart was given

import json
import sys
import time
import urllib.error
import urllib.request


def get(url: str, until: float) -> tuple[str, str]:
    """Type and text of what stands there, tried once a second until `until`."""
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return response.headers.get("content-type", ""), response.read().decode()
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            if time.monotonic() >= until:
                sys.exit(f"{url}: {error}")
            time.sleep(1)


def main(base: str, seconds: str) -> None:
    """Ends with what is wrong where something is."""
    until = time.monotonic() + float(seconds)
    get(f"{base}/livez", until)
    readiness = json.loads(get(f"{base}/readyz", until)[1])
    print("readyz:", json.dumps(readiness))
    kind, text = get(f"{base}/metrics", until)
    samples = [line for line in text.splitlines() if line.startswith("askonce_")]
    if not kind.startswith(("text/plain", "application/openmetrics-text")) or not samples:
        sys.exit(f"{base}/metrics holds no figures of the proxy: {kind}, {len(text)} characters")
    print("metrics:", len(samples), "samples")


if __name__ == "__main__":
    main(*sys.argv[1:])
