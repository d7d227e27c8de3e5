"""What docs/ and the packaging say is what the program does.

- `test_docs` links, anchors, files that are named, the table of floors
- `test_doc_examples` commands and configurations of the pages
- `test_log_facts` docs/log-facts.md against the modules of the log
- `test_packaging` files for containers, Kubernetes and systemd
- `test_site` the documents as a site
- `config_reference` docs/keys.md, written from the models and config.toml
- `man_page` docs/waypost.1, written from the parsers of the command line
- `pages` which pages there are
"""
