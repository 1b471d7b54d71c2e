"""Streams of bytes between processes: how they are found, made, listened for and kept for those who may have them."""
