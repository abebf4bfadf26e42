#include "ctl/yaml.h"
#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include "base/core.h"

/* What a YAML 1.1 reader takes for something else than text: https://yaml.org/type/ */
static const char other_types[] = "^(~|null|Null|NULL|=|<<"
                                  "|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE"
                                  "|on|On|ON|off|Off|OFF"
                                  "|[-+]?0b[01_]+|[-+]?0x[0-9a-fA-F_]+|[-+]?[0-9][0-9_]*"
                                  "|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\\.[0-9_]*)?"
                                  "|[-+]?([0-9][0-9_]*)?\\.[0-9_]*([eE][-+]?[0-9]+)?"
                                  "|[-+]?\\.(inf|Inf|INF)|\\.(nan|NaN|NAN)"
                                  "|[0-9]{4}-[0-9]{2}-[0-9]{2}"
                                  "|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\\.[0-9]*)?"
                                  "([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?)$";

static bool reads_as_other_type(const char *s)
{
    static regex_t compiled;
    static bool is_compiled;

    if (!is_compiled && regcomp(&compiled, other_types, REG_EXTENDED | REG_NOSUB) != 0)
        return true;
    is_compiled = true;
    return regexec(&compiled, s, 0, NULL, 0) == 0;
}

static bool has_control_characters(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return true;
    return false;
}

/* Plain means without quotes. Inside {} and [] less may be plain. */
static bool may_be_plain(const char *s, enum yaml_style style)
{
    size_t len = strlen(s);

    if (!len || isspace((unsigned char)s[0]) || isspace((unsigned char)s[len - 1]) || reads_as_other_type(s))
        return false;
    if (strchr("#,[]{}&*!|>'\"%@`", s[0]) || strncmp(s, "---", 3) == 0 || strncmp(s, "...", 3) == 0)
        return false;
    if (strchr("-?:", s[0]) && (!s[1] || s[1] == ' '))
        return false;
    if (strstr(s, ": ") || strstr(s, " #") || s[len - 1] == ':')
        return false;
    return style == YAML_BLOCK || !strpbrk(s, ",?[]{}:");
}

static void put_double_quoted(struct textbuf *out, const char *s)
{
    textbuf_puts(out, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            textbuf_printf(out, "\\%c", *s);
        else if (*s == '\n')
            textbuf_puts(out, "\\n");
        else if (*s == '\t')
            textbuf_puts(out, "\\t");
        else if ((unsigned char)*s < ' ' || *s == 0x7f)
            textbuf_printf(out, "\\x%02x", (unsigned char)*s);
        else
            textbuf_append(out, s, 1);
    }
    textbuf_puts(out, "\"");
}

static void put_string(struct textbuf *out, const char *s, enum yaml_style style)
{
    if (has_control_characters(s)) {
        put_double_quoted(out, s);
    } else if (may_be_plain(s, style)) {
        textbuf_puts(out, s);
    } else {
        textbuf_puts(out, "'");
        for (; *s; s++)
            textbuf_append(out, *s == '\'' ? "''" : s, *s == '\'' ? 2 : 1);
        textbuf_puts(out, "'");
    }
}

/* The shortest text that reads back as the same number, and still as a number with a point. */
static void put_real(struct textbuf *out, double value)
{
    char text[40];

    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    textbuf_puts(out, text);
    if (!strpbrk(text, ".en"))
        textbuf_puts(out, ".0");
}

static void put_scalar(struct textbuf *out, const json_t *value, enum yaml_style style)
{
    if (json_is_string(value))
        put_string(out, json_string_value(value), style);
    else if (json_is_integer(value))
        textbuf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        put_real(out, json_real_value(value));
    else
        textbuf_puts(out, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The caller frees the array, not the keys; NULL when memory ran out (noted in out) or there are none. */
static const char **sorted_keys(struct textbuf *out, const json_t *object)
{
    size_t n = 0, size = json_object_size(object);
    const char **keys = size ? calloc(size, sizeof(*keys)) : NULL;
    json_t *mutable = (json_t *)(uintptr_t)object; /* iterating does not change it, whatever the prototype says */

    if (!keys) {
        out->failed |= size > 0;
        return NULL;
    }
    for (void *at = json_object_iter(mutable); at; at = json_object_iter_next(mutable, at))
        keys[n++] = json_object_iter_key(at);
    qsort(keys, n, sizeof(*keys), compare_keys);
    return keys;
}

static void put_flow(struct textbuf *out, const json_t *value)
{
    if (json_is_array(value)) {
        textbuf_puts(out, "[");
        for (size_t i = 0; i < json_array_size(value); i++) {
            textbuf_puts(out, i ? ", " : "");
            put_flow(out, json_array_get(value, i));
        }
        textbuf_puts(out, "]");
    } else if (json_is_object(value)) {
        CLEANUP(freep) const char **keys = sorted_keys(out, value);

        textbuf_puts(out, "{");
        for (size_t i = 0; keys && i < json_object_size(value); i++) {
            textbuf_puts(out, i ? ", " : "");
            put_string(out, keys[i], YAML_FLOW);
            textbuf_puts(out, ": ");
            put_flow(out, json_object_get(value, keys[i]));
        }
        textbuf_puts(out, "}");
    } else {
        put_scalar(out, value, YAML_FLOW);
    }
}

static void put_indent(struct textbuf *out, int indent)
{
    textbuf_printf(out, "%*s", indent, "");
}

/* The cursor stands where the first line of the value begins, `indent` columns in; ends after a line feed. */
static void put_block(struct textbuf *out, const json_t *value, int indent);

static void put_block_array(struct textbuf *out, const json_t *array, int indent)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i)
            put_indent(out, indent);
        textbuf_puts(out, "- ");
        put_block(out, json_array_get(array, i), indent + 2);
    }
}

static void put_block_object(struct textbuf *out, const json_t *object, int indent)
{
    CLEANUP(freep) const char **keys = sorted_keys(out, object);

    for (size_t i = 0; keys && i < json_object_size(object); i++) {
        const json_t *value = json_object_get(object, keys[i]);
        int inner = json_is_array(value) ? indent : indent + 2;

        if (i)
            put_indent(out, indent);
        put_string(out, keys[i], YAML_BLOCK);
        textbuf_puts(out, ":");
        if (json_array_size(value) + json_object_size(value) > 0) {
            textbuf_puts(out, "\n");
            put_indent(out, inner);
        } else {
            textbuf_puts(out, " ");
        }
        put_block(out, value, inner);
    }
}

static void put_block(struct textbuf *out, const json_t *value, int indent)
{
    if (json_array_size(value)) {
        put_block_array(out, value, indent);
    } else if (json_object_size(value)) {
        put_block_object(out, value, indent);
    } else {
        if (json_is_array(value) || json_is_object(value))
            put_flow(out, value);
        else
            put_scalar(out, value, YAML_BLOCK);
        textbuf_puts(out, "\n");
    }
}

void yaml_print(struct textbuf *out, const json_t *value, enum yaml_style style)
{
    if (style == YAML_FLOW)
        put_flow(out, value);
    else
        put_block(out, value, 0);
}
