"""A vision-language model that draws by calling tools: it writes a call, sees what came of it, and may
call again (HuggingGPT, arXiv 2303.17580; Visual ChatGPT, arXiv 2303.04671)."""
