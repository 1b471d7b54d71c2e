"""The engine in Python alone, for where the native one cannot be loaded. What it has is what ``_native.pyi`` says."""
