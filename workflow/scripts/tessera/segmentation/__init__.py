"""From probabilities to labels: seeds, connected components, objects and their measurements."""
