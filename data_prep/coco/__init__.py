"""People in COCO's photographs, as records with 2D labels alone."""
