"""Building the static payloads from ``guest_payload/``."""
