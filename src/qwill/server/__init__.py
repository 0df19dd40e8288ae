"""`qwill serve`: the engine behind HTTP, in the dialects that clients speak already."""
