"""What the scripts share, one noun per module; imports in here are relative."""
