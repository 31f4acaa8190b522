"""One request to the proxy in the same container: `ask.py PORT METHOD PATH BODY` prints the answer as JSON."""

from __future__ import annotations

import http.client
import json
import sys

port, method, path, body = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
headers = {"authorization": "Bearer test", "content-type": "application/json"}
try:
    connection.request(method, path, body or None, headers)
    response = connection.getresponse()
    said = {"status": response.status, "headers": dict(response.getheaders()), "body": response.read().decode()}
except OSError as error:
    said = {"status": 0, "headers": {}, "body": "", "error": str(error)}
sys.stdout.write(json.dumps(said))
