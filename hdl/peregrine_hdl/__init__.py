"""Gateware of the policy core: an artifact's weights as constants, one decision a clock, or in banks that are loaded. See docs/guide/gateware.md."""
