IMAGE_REGISTRY ?= registry.example/streams
TAG ?= stable
