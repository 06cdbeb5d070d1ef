"""The trainer, losses, schedules, checkpoints, loggers and model export."""
