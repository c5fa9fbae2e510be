"""Rules about what is deployed into a cluster: pure; objects, plans and answers in, values and findings out."""
