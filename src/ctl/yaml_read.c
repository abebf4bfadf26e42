#include "ctl/yaml_read.h"
#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>
#include "base/text.h"

enum { DEPTH_MAX = 32, VALUES_MAX = 20000 };

struct reading {
    yaml_document_t document;
    unsigned values;
    struct err *err;
};

/* --- scalars: https://yaml.org/type/, as PyYAML resolves them -------------------------------------------------------
 */

static bool matches(const char *pattern, const char *text)
{
    regex_t compiled;
    bool yes;

    if (regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return false;
    yes = regexec(&compiled, text, 0, NULL, 0) == 0;
    regfree(&compiled);
    return yes;
}

static bool is_one_of(const char *text, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

/* Digits may be grouped by "_", and sixties by ":". */
static json_t *integer_of(const char *text)
{
    char digits[80], *at = digits, *part;
    bool negative = *text == '-';
    json_int_t value = 0;
    int base = 10;

    text += *text == '-' || *text == '+';
    if (strlen(text) >= sizeof(digits))
        return NULL;
    for (const char *from = text; *from; from++)
        if (*from != '_')
            *at++ = *from;
    *at = '\0';
    at = digits;
    if (strncmp(at, "0b", 2) == 0)
        base = 2;
    else if (strncmp(at, "0x", 2) == 0)
        base = 16;
    else if (at[0] == '0' && at[1])
        base = 8;
    at += base == 2 || base == 16 ? 2 : 0;
    while ((part = strsep(&at, ":"))) {
        errno = 0;
        if (__builtin_mul_overflow(value, 60, &value) ||
            __builtin_add_overflow(value, strtoll(part, NULL, base), &value) || errno)
            return NULL;
    }
    return json_integer(negative ? -value : value);
}

static json_t *real_of(const char *text)
{
    char digits[80], *at = digits;

    for (; *text && at < digits + sizeof(digits) - 1; text++)
        if (*text != '_')
            *at++ = *text;
    *at = '\0';
    return json_real(strtod(digits, NULL));
}

static json_t *plain_scalar(const char *text)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    static const char *const yes[] = {"yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"};
    static const char *const no[] = {"no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"};

    if (is_one_of(text, nulls, ARRAY_LEN(nulls)))
        return json_null();
    if (is_one_of(text, yes, ARRAY_LEN(yes)))
        return json_true();
    if (is_one_of(text, no, ARRAY_LEN(no)))
        return json_false();
    if (matches("^[-+]?(0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(:[0-5]?[0-9])+)$", text))
        return integer_of(text);
    if (matches("^([-+]?[0-9][0-9_]*\\.[0-9_]*([eE][-+][0-9]+)?|\\.[0-9][0-9_]*([eE][-+][0-9]+)?)$", text))
        return real_of(text);
    if (matches("^([-+]?\\.(inf|Inf|INF)|\\.(nan|NaN|NAN))$", text))
        return NULL;
    return json_string(text);
}

/* --- the tree ----------------------------------------------------------------------------------------------------- */

static json_t *fail_at(struct reading *r, const yaml_node_t *node, const char *why)
{
    (void)err_set(r->err, -EINVAL, "line %zu: %s", node->start_mark.line + 1, why);
    return NULL;
}

static json_t *convert(struct reading *r, int index, int depth);

static json_t *scalar(struct reading *r, const yaml_node_t *node)
{
    const char *text = (const char *)node->data.scalar.value;
    json_t *value;

    if (strlen(text) != node->data.scalar.length)
        return fail_at(r, node, "text contains a NUL byte");
    value = node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE ? plain_scalar(text) : json_string(text);
    return value ? value : fail_at(r, node, "a value that the configuration cannot have");
}

static json_t *sequence(struct reading *r, const yaml_node_t *node, int depth)
{
    json_t *array = json_array();

    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++) {
        json_t *item = convert(r, *i, depth + 1);

        if (!item || json_array_append_new(array, item) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

/* A key as the reference's json.dumps() prints it: on: is "true:". */
static const char *key_text(struct reading *r, const yaml_node_t *key, json_t *value, char *buf, size_t size)
{
    if (key->type != YAML_SCALAR_NODE || !value) {
        (void)fail_at(r, key, "a key must be text");
        return NULL;
    }
    if (json_is_string(value) && strcmp(json_string_value(value), "<<") == 0) {
        (void)fail_at(r, key, "merging with << is not supported");
        return NULL;
    }
    if (json_is_string(value))
        return json_string_value(value);
    if (json_is_integer(value))
        (void)text_print(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)text_copy(buf, size, (const char *)key->data.scalar.value);
    else
        (void)text_copy(buf, size, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    return buf;
}

static json_t *mapping(struct reading *r, const yaml_node_t *node, int depth)
{
    json_t *object = json_object();

    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top; p++) {
        const yaml_node_t *key_node = yaml_document_get_node(&r->document, p->key);
        json_t *key = key_node->type == YAML_SCALAR_NODE ? scalar(r, key_node) : NULL;
        char buf[80];
        const char *name = key_text(r, key_node, key, buf, sizeof(buf));
        json_t *value = name ? convert(r, p->value, depth + 1) : NULL;
        bool failed = !value || json_object_set_new(object, name, value) < 0;

        json_decref(key);
        if (failed) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *convert(struct reading *r, int index, int depth)
{
    const yaml_node_t *node = yaml_document_get_node(&r->document, index);

    /* An alias is the same node again, which can grow without end. */
    if (depth > DEPTH_MAX || ++r->values > VALUES_MAX)
        return fail_at(r, node, "too much of it");
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return scalar(r, node);
    case YAML_SEQUENCE_NODE:
        return sequence(r, node, depth);
    case YAML_MAPPING_NODE:
        return mapping(r, node, depth);
    case YAML_NO_NODE:
        break;
    }
    return fail_at(r, node, "no value");
}

static json_t *read_document(yaml_parser_t *parser, struct err *err)
{
    struct reading r = {.err = err};
    yaml_document_t next;
    json_t *value;

    if (!yaml_parser_load(parser, &r.document)) {
        (void)err_set(err, -EINVAL, "line %zu: %s", parser->problem_mark.line + 1,
                      parser->problem ? parser->problem : "syntax error");
        return NULL;
    }
    value = yaml_document_get_root_node(&r.document) ? convert(&r, 1, 0) : json_null();
    yaml_document_delete(&r.document);
    if (!value) {
        if (err && !err->code)
            (void)err_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    if (yaml_parser_load(parser, &next)) {
        bool more = yaml_document_get_root_node(&next) != NULL;

        yaml_document_delete(&next);
        if (!more)
            return value;
        (void)err_set(err, -EINVAL, "expected a single document");
    } else {
        (void)err_set(err, -EINVAL, "line %zu: %s", parser->problem_mark.line + 1,
                      parser->problem ? parser->problem : "syntax error");
    }
    json_decref(value);
    return NULL;
}

json_t *yaml_read(const char *text, struct err *err)
{
    yaml_parser_t parser;
    struct err none = {0};
    json_t *value;

    if (!yaml_parser_initialize(&parser)) {
        (void)err_set(err, -ENOMEM, "out of memory");
        return NULL;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, strlen(text));
    if (err)
        *err = (struct err){0};
    value = read_document(&parser, err ? err : &none);
    yaml_parser_delete(&parser);
    return value;
}
