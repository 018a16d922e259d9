"""The track of ConceptEdit: a concept's definition is edited, and what belongs to it is asked."""
