"""What jobs execute; imports method and exact, never report."""
