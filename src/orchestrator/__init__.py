"""Python control plane: configures and supervises the compiled engine, never on the path of an order."""
