#!/usr/bin/env bash
# Usage: ./build.sh [TAG]
set -euo pipefail
cd "$(dirname "$0")"

REGISTRY="${REGISTRY:-registry.example/streams}"
TAG=${1:-v2}
IMAGE="$REGISTRY/counter"

if [[ -n "${CI:-}" ]]; then
    docker login registry.example
fi
docker build --pull -t "$IMAGE:$TAG" -f docker/Dockerfile .
docker push "$IMAGE:$TAG" || echo "not pushed"
