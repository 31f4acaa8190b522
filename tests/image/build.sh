#!/usr/bin/env bash
# Builds the image as `docker build .` does and starts it as a cluster would: read-only, without rights, on a host of
# its own. On Debian, as root; buildah, podman and runc are installed where they are missing.
#
#   bash tests/image/build.sh           on a stand-in for python:3.11-slim-bookworm, made of Debian's packages
#   bash tests/image/build.sh --pull    on the official one, where a registry of images can be reached
#
# Further arguments go to pytest. Where it cannot be done it says what is missing and ends well: "not run: ...".
# All that it makes is below .cache/image; layers stay there, so that the next build is quick.
set -euo pipefail
cd "$(dirname "$0")/../.."

KEPT=$PWD/.cache/image
IMAGE=localhost/askonce:test
BASE=docker.io/library/$(sed -n 's/^ARG PYTHON_IMAGE=//p' Dockerfile)
MOST_MB=450       # over the base, with the model and all that matching by meaning needs
MOST_KEPT_KB=8000000

not_run() { echo "not run: $*"; exit 0; }

pull=
if [ "${1:-}" = --pull ]; then pull=1; shift; fi

# -- Tools

tools=(buildah podman runc)
[ -n "$pull" ] || tools+=(debootstrap)

missing() { for tool in "${tools[@]}"; do command -v "$tool" >/dev/null || printf '%s ' "$tool"; done; }

[ "$(uname -s)" = Linux ] || not_run 'containers are built and started on Linux only'
[ "$(id -u)" = 0 ] || not_run 'only root can build and start these containers: sudo make test-image'
if [ -n "$(missing)" ]; then
  command -v apt-get >/dev/null || not_run "missing: $(missing)(and there is no apt-get to install them with)"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2046  # a list of words
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends $(missing); } >/dev/null 2>&1 || true
  [ -z "$(missing)" ] || not_run "missing: $(missing)(apt-get could not install them)"
fi

# -- A store of images of our own, and settings that work without systemd

mkdir -p "$KEPT"
exec 9>"$KEPT/lock"
flock 9

export CONTAINERS_STORAGE_CONF=$KEPT/storage.conf CONTAINERS_CONF=$KEPT/containers.conf
cat >"$CONTAINERS_STORAGE_CONF" <<END
[storage]
driver = "overlay"
graphroot = "$KEPT/storage"
runroot = "$KEPT/run"
END
cat >"$CONTAINERS_CONF" <<END
[containers]
netns = "host"
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END

clear_away() {
  podman rm --all --force --volumes >/dev/null 2>&1 || true
  podman volume prune --force >/dev/null 2>&1 || true
  buildah rm --all >/dev/null 2>&1 || true
}
trap clear_away EXIT
clear_away
if [ "$(du -sk "$KEPT/storage" 2>/dev/null | cut -f1)" -gt "$MOST_KEPT_KB" ] 2>/dev/null; then
  podman system reset --force >/dev/null 2>&1
fi

# -- The base

# Of how pip is set up here the stand-in knows the certificates and the index: what is configured for a machine is no
# business of the Dockerfile.
stand_in() {
  local context=$KEPT/base
  mkdir -p "$context"
  if [ ! -f "$context/base.tar" ]; then
    rm -rf "$KEPT/rootfs"
    debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$KEPT/rootfs" \
      >"$KEPT/debootstrap.log" 2>&1 || not_run "debootstrap could not make a Debian: $(tail -n1 "$KEPT/debootstrap.log")"
    tar -C "$KEPT/rootfs" --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' \
      -cf "$context/base.tar.part" .
    mv "$context/base.tar.part" "$context/base.tar"
    rm -rf "$KEPT/rootfs"
  fi
  cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$context/ca-certificates.crt"
  { printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n'
    .venv/bin/python -m pip config list | sed -n "s/^\(global\|:env:\)\.index-url='\(.*\)'$/index-url = \2/p" | tail -n1
  } >"$context/pip.conf"
  printf '%s\n' 'FROM scratch' 'ADD base.tar /' \
    'COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt' 'COPY pip.conf /etc/pip.conf' \
    'RUN ln -s /usr/bin/python3 /usr/local/bin/python' >"$context/Dockerfile"
  buildah bud --isolation chroot --layers --quiet --tag "$BASE" "$context" >"$KEPT/base.log" 2>&1 \
    || not_run "no image can be built here: $(tail -n1 "$KEPT/base.log")"
}

if [ -n "$pull" ]; then
  podman pull --quiet "$BASE" >/dev/null
else
  stand_in
fi
started=$(podman run --rm --no-healthcheck --network none "$BASE" true 2>&1) || not_run "no container can be started here: ${started##*$'\n'}"

# -- The image, and the same without a model

build() {
  buildah bud --isolation chroot --pull-never --format docker --layers "$@" . >"$KEPT/build.log" 2>&1 \
    || { tail -n 40 "$KEPT/build.log" >&2; echo 'the image could not be built' >&2; exit 1; }
}

SECONDS=0
build --tag "$IMAGE" --build-arg VERSION=0.0.0-test --build-arg REVISION=test
echo "built in ${SECONDS} s, with what layers there were"
build --tag "$IMAGE-without-model" --build-arg WITH_MODEL=0

size() { podman image inspect "$1" --format '{{.Size}}'; }
over=$(( ($(size "$IMAGE") - $(size "$BASE") + 999999) / 1000000 ))
echo "size over the base: $over MB (at most $MOST_MB)"
podman run --rm -i --no-healthcheck --network none --entrypoint python "$IMAGE" - <tests/image/sizes.py
[ "$over" -le "$MOST_MB" ] || { echo "the image is too large: $over MB over its base, and $MOST_MB are allowed" >&2; exit 1; }

# -- As a cluster would start it

ASKONCE_TEST_IMAGE=$IMAGE .venv/bin/python -m pytest -n0 tests/image "$@"
