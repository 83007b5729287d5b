"""Protobuf modules, made from the .proto files beside them by ``make protos``."""
