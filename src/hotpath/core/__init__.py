"""Python beside the engine's core room: the numpy views of its byte layouts."""
