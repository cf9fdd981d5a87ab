#!/bin/sh
set -eux

python example.py
