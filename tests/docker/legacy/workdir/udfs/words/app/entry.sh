#!/bin/sh
set -eu
cd /app
exec python starter.py "$@"
