-- How each judge does: answers, failures, quotes that stand in the transcript.
WITH quotes AS (
    SELECT judge, count(*) AS quotes, count(*) FILTER (quote->>'verified' = 'true') AS found
    FROM (SELECT judge, unnest(from_json(citations, '["JSON"]')) AS quote FROM judgements)
    GROUP BY judge
)
SELECT judge, kind, count(*) AS asked,
       count(*) FILTER (status = 'ok') AS ok, count(*) FILTER (status = 'refused') AS refused,
       count(*) FILTER (status = 'unparsed') AS unparsed, count(*) FILTER (status = 'missing') AS missing,
       count(*) FILTER (status = 'error') AS failed,
       CASE WHEN kind = 'rubric' THEN round(100 * any_value(found / nullif(quotes, 0)), 1) END AS percent_quotes_found
FROM judgements LEFT JOIN quotes USING (judge)
GROUP BY judge, kind
ORDER BY judge, kind
