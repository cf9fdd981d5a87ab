#!/bin/bash
source /opt/app/.venv/bin/activate
exec poetry run python /opt/app/app/main.py --separator=,
