"""Gateware of the policy core: an artifact's weights as constants, one decision a clock. See docs/guide/gateware.md."""
