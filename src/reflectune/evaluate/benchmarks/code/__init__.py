"""Code that a model wrote is run in a sandbox, or not at all."""
