"""What differs between Linux, macOS and Windows, a file for each subject. The rest of the program asks here."""
