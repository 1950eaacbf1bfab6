"""CloudFormation: templates become stacks of resources, and changes are undone if one fails."""
