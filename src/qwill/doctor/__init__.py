"""What this installation is and has, and what is wrong with it: `qwill doctor`. Nothing in it is private."""
