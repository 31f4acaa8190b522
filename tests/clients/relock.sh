#!/usr/bin/env bash
# Writes the locks anew, with the newest versions there are. Then run `make test-clients`, and mend the pages.
set -euo pipefail
cd "$(dirname "$0")/locks"
uv=../../../.venv/bin/uv

for lock in *.txt; do
  client=${lock%.txt}
  install=$(sed -n 's/^pip install //p' "../../../docs/clients/$client.md" | head -n 1 | tr -d '"')
  {
    echo '# Versions the tests run this client with; write anew: tests/clients/relock.sh'
    echo "$install" | "$uv" pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate -
  } >"$lock.new"
  mv "$lock.new" "$lock"
done

for folder in */; do
  install=$(sed -n 's/^npm install //p' "../../../docs/clients/${folder%/}.md" | head -n 1)
  # shellcheck disable=SC2086  # several packages
  (cd "$folder" && npm install --package-lock-only --save-exact --loglevel=error $(printf '%s@latest ' $install))
done
