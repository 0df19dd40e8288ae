"""Making model files: from one checkpoint to another layout or in fewer bits."""
