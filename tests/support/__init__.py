"""Real servers, real images and faults for the tests. Nothing here is imported by airbundle itself."""
