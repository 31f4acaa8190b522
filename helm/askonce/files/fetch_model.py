"""Fills the volume of the embedding model: what is not there yet is fetched, whole or not at all.

Arguments: the folder it is fetched from, the directory it goes to, the files by their path below the folder. The
variable TOKEN may hold a bearer token. Standard library only.
"""

# ruff: noqa: S310 - run by itself in a pod, on addresses the chart was given

import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path


def fetch(url: str, target: Path) -> None:
    """A name is there only once its file is whole: a pod that is stopped in the middle leaves no half a model."""
    request = urllib.request.Request(url)
    if token := os.environ.get("TOKEN"):
        # Not sent along to where a hub redirects to: that address carries a signature of its own.
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    # A name of its own: pods that start together share the volume.
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".partial")
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(request, timeout=60) as response:
            shutil.copyfileobj(response, file, 1 << 20)
            expected = response.headers.get("content-length")
        if expected is not None and partial.stat().st_size != int(expected):
            sys.exit(f"{url}: {partial.stat().st_size} of {expected} bytes came")
        partial.chmod(0o644)
        partial.replace(target)
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        sys.exit(f"{url}: {error}")
    finally:
        partial.unlink(missing_ok=True)


def main(base: str, directory: str, *files: str) -> None:
    """Ends with the address and the reason where one cannot be had."""
    for path in files:
        target = Path(directory) / Path(path).name
        if target.is_file():
            print(target, "is there")
            continue
        fetch(f"{base.rstrip('/')}/{path}", target)
        print(target, target.stat().st_size, "bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
