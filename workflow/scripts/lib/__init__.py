"""What scripts, and the plan, are made of: one noun per module; imports in here are relative."""
