"""Adapters to other libraries; no other module imports them."""
