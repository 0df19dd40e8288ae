"""How well the trained model does: held-out questions, drafts of the multi-token head, and the model card."""
