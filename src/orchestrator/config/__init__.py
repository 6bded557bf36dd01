"""Configuration: strict models, shipped profiles, errors that name path, found, expected and fix."""
