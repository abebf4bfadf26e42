#include "base/words.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include "base/text.h"

static const char blanks[] = " \t\r\n";

/* Appends the word that starts here, without its quotes. Returns what follows it, NULL if a quote is not closed. */
static const char *take_word(const char *s, struct textbuf *word)
{
    char quote = '\0';

    for (; *s && (quote || !strchr(blanks, *s)); s++) {
        bool escapes = *s == '\\' && quote != '\'' && (!quote || s[1] == '"' || s[1] == '\\');

        if (escapes && s[1]) {
            textbuf_append(word, ++s, 1);
        } else if (*s == quote) {
            quote = '\0';
        } else if (!quote && (*s == '\'' || *s == '"')) {
            quote = *s;
        } else {
            textbuf_append(word, s, 1);
        }
    }
    return quote ? NULL : s;
}

char **words_split(const char *text)
{
    /* Every word but the last has a blank behind it. */
    CLEANUP(words_freep) char **words = calloc(strlen(text) / 2 + 2, sizeof(*words));
    size_t n = 0;

    if (!words)
        return NULL;
    for (text += strspn(text, blanks); *text; text += strspn(text, blanks)) {
        struct textbuf word = {0};

        text = take_word(text, &word);
        if (!text) {
            textbuf_done(&word);
            return NULL;
        }
        words[n] = textbuf_take(&word);
        if (!words[n++])
            return NULL;
    }
    return STEAL(words);
}

char **words_free(char **words)
{
    for (size_t i = 0; words && words[i]; i++)
        free(words[i]);
    free(words);
    return NULL;
}
