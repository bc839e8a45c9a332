"""Recycle instruction data by reflection."""
