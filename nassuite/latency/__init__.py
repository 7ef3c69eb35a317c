"""What a network costs: measured on exported files, predicted from architectures, certified."""
