"""What a site file asks for beyond the registry: nodes, DNS, trust, secrets, releases and checks, step by step."""
