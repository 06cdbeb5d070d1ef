"""What every other subpackage may use: errors, atomic writes, locks, the job wrapper and batch outputs."""
