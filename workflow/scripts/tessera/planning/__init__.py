"""What Snakemake needs to plan: the table, the settings, provenance and reruns."""
