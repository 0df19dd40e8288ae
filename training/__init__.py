"""How the demonstration model is made: data, training, export and evaluation. PyTorch is used here only."""
