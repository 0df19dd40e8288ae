"""qwill runs Qwen 3.5 on the hardware you have."""

__version__ = "0.1.0"
