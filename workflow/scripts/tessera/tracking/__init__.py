"""From labels to lineages: detections, links, hypotheses, selection and exports."""
