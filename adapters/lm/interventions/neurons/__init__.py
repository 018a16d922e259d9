"""Knowledge neurons as an editor: what the neurons of a fact write is rewritten."""
