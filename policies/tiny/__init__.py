"""The embedded default: a real unified model small enough for two CPU cores."""
