"""Parts of the front-end benchmark: fields, engines and peers, judgement, figures."""
